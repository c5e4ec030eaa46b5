# Clocks of a 385A as the shell needs them. The names of the ports are those of saf_385a.qsf; the clocks of MAC, EMIF and
# kernel interface come with those IPs' own constraints.
create_clock -name ref_644 -period 1.551 [get_ports refclk_644]
create_clock -name pr_ref -period 10.000 [get_ports clk_100]
derive_pll_clocks -create_base_clocks
derive_clock_uncertainty

# The shell's four domains know nothing of each other; what crosses is bounded in saf_cdc.sdc, entity by entity. They are
# deliberately not put into asynchronous clock groups: that would switch those bounds off.
