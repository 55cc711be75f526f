"""One script per performance question; results as CSV beside it, each row with device, versions, commit and date."""
