"""Native code of ours: built with the C compiler of the machine when it is first needed, and never required."""
