"""Planning: numbers in, a plan out. Needs only numpy; knows no tensor, no network and no clock."""
