module leasehold

go 1.25

// Of the versions with which these bindings work, the newest that the module proxy serves.
require go.bytecodealliance.org/pkg v0.2.1
