from core_jobs_rig import IMAGE, JobRun
from safhost.sim import Impairment
def test_dbg(jobs):
    for d in (3_000, 1_000_000, 10_000_000, 40_000_000):
        sim = jobs(cards=1, kernel_ns=1_000_000, impairment=Impairment(delay_ns=d))
        run = JobRun(sim, IMAGE, 60, unit_deadline_ms=200, speculate=False, retries=1, keep_going=True)
        run.until(10)
        sim.inject("c01", "hang_kernel", times=2)
        ended = run.wait()
        print(d, ended.result, [(n.kind, n.text) for n in run.notes][-4:], [(i,u.error) for i,u in run.units.items() if u.error])
