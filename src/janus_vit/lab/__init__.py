"""Work done before and after: profiles, traces, emulated links, simulation, comparison."""
