"""`safhost paper`: the evaluation section of the SAF paper (section VI), regenerated as one report.

`constants` holds what the paper prints, `models` the formulas behind it, `content` what a report is made of;
`figure6`, `table2`, `figure7`, `table3` and `table4` each make one section; `run` puts them together and
`report` writes them as HTML, PNG, JSON and CSV. Every number carries the kind it is of: paper, modelled,
measured, or measured on cards whose own times are modelled.
"""
