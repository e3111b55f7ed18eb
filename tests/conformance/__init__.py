"""The contract as tests: a naive oracle, generated streams of events, and one suite that every engine must pass."""
