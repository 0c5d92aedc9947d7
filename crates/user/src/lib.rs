//! GrapevineUser: finds the servers, fails over, loses nothing and doubles nothing.
