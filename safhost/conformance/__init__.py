"""Every clause of the protocol, tried against any card: a model in this process, a lab's, RTL, or a real one.

For people who build a card. It is a host's end made by hand from `safhost.wire` alone: nothing of the host's core,
runtime or client is in it, so that their bugs are not in it either.

    wires     what a check talks through: a card model under a virtual clock, or a network interface
    probe     discovery and sessions by hand; session: requests, answers, transfers, reads, commands of one session
    images    the two small images whose kernels the suite runs
    expect    what checks compare with; kernels: what several of them start
    suite     checks by clause, verdicts; report: the table, JSON and JUnit
    checks/   the checks, by subject
    faulty    card models with one bug each, which the suite must catch
"""
