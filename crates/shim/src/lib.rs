//! One small process per container: stdio, log, exec, exit record.
