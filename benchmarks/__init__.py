"""What tsloss_fast costs, beside every peer: run, table, plots, growth. See README.md."""
