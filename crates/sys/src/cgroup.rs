//! Control groups, v2 and v1/hybrid, through a directory fd (cgroups(7)).
