"""PTRANS, C = B + Aᵀ, over the cards of a cluster: definition, counting and threshold of HPCC FPGA.

`problem`: the matrices and what is right. `distribution`: which card has which tile. `roofline`: what the host's link
allows. `measure`: strong and weak scaling, with transfers and without. `hotplug`: cards that come and go meanwhile.
`setting`: the lab or cluster that is measured. `plots` and the tables of the command line show the results.
"""
