"""Planning: numbers in, a plan out. Needs numpy alone; knows no tensor, no network and no clock."""
