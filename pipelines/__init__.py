"""Ray jobs, command line and report: wiring only. The one package that imports ray."""
