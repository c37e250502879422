"""The types of tasks, one file per type; `photometry.chains.tasktype` lists them."""
