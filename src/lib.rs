//! Command line, configuration and wiring of butler-sos.
