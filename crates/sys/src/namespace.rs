//! Namespaces: make and join (namespaces(7)).
