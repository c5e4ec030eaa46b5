"""Figures of the shell from cycles of its RTL in simulation: line rate, latencies, rates, and what a reconfiguration of
many cards takes by them. All of them are of the simulated card; none was measured on hardware."""
