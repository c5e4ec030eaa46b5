"""The checks, by subject: every module here registers its own with `safhost.conformance.suite.check`."""
