//! The simulated cluster: network, clock and disks with faults, the oracle and the invariants.
