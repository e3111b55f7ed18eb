"""The model repository: models as files that any process can take up, without running code of theirs."""
