//! `Pipeline.files`, `Pipeline.csv`, `Pipeline.deadLetters`, `Pipeline.quarantine`: files on this machine.

use butler_sos_settings::section;

section! {
    /// Export files: CSV, JSON, Parquet and QVD.
    pub struct Files {
        /// Mode of a new file in octal digits; the umask also applies. Users who can read the files can list their
        /// directories. Prefer adding the account of the loader to the group of the server to a wider mode.
        "mode" => mode: String = text("0640");
    }
}

section! {
    /// CSV files.
    pub struct Csv {
        /// User events.
        "userEvents" => user_events: CsvUserEvents = group::<CsvUserEvents>();
        /// Audit events.
        "auditEvents" => audit_events: CsvAuditEvents = group::<CsvAuditEvents>();
    }
}

section! {
    /// User events as CSV files.
    pub struct CsvUserEvents {
        /// Whether they are written.
        "enable" => enable: bool = no();
        /// Directory of the files.
        "exportDirectory" => export_directory: String = text("./data/csv/user-events");
        /// A new file begins at this size and each day (UTC).
        "rotateBytes" => rotate_bytes: u64 = bytes("256 MiB", 4_096..=1_099_511_627_776);
        /// Whether values that a spreadsheet would run as a formula are prefixed with a quote.
        "neutraliseFormulas" => neutralise_formulas: bool = yes();
    }
}

section! {
    /// Audit events as CSV files.
    pub struct CsvAuditEvents {
        /// Whether they are written.
        "enable" => enable: bool = no();
        /// Directory of the files.
        "exportDirectory" => export_directory: String = text("./data/csv/audit-events");
        /// A new file begins at this size and each day (UTC).
        "rotateBytes" => rotate_bytes: u64 = bytes("256 MiB", 4_096..=1_099_511_627_776);
        /// Whether values that a spreadsheet would run as a formula are prefixed with a quote.
        "neutraliseFormulas" => neutralise_formulas: bool = yes();
    }
}

section! {
    /// Events that a destination refused, each with its reason.
    pub struct DeadLetters {
        /// Directory of the files.
        "directory" => directory: String = text("./data/dead-letters");
        /// Maximum size in bytes; the oldest entries are evicted and counted.
        "bytesMax" => bytes_max: u64 = bytes("256 MiB", 4_096..=1_099_511_627_776);
        /// Maximum size in bytes, per destination, of events that a limit of the destination blocks (for example
        /// `max-values-per-tag` of InfluxDB 1), in the directory `parked`. None is evicted: the destination waits.
        "parkedBytesMax" => parked_bytes_max: u64 = bytes("256 MiB", 65_536..=1_099_511_627_776);
        /// Seconds between two retries of parked events; the first is at the start.
        "parkedRetrySeconds" => parked_retry_seconds: u64 = int(3_600, 1..=604_800);
    }
}

section! {
    /// Datagrams that are no user events: their first bytes, source and time.
    pub struct Quarantine {
        /// Directory of the files.
        "directory" => directory: String = text("./data/quarantine");
        /// Maximum size in bytes; the oldest entries are evicted and counted.
        "bytesMax" => bytes_max: u64 = bytes("16 MiB", 4_096..=1_099_511_627_776);
    }
}
