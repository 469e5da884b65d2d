//! `Pipeline.files`, `Pipeline.csv`, `Pipeline.deadLetters`, `Pipeline.quarantine`: files on this machine.

use crate::config::schema::section;

section! {
    /// Files for others: CSV, JSON, Parquet and QVD.
    pub struct Files {
        /// Most rights of a new file, in octal digits; the umask may take more away. Who may read the files may look into
        /// their directories. Better than a wider mode: the loader's account in the server's group.
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
        /// A file of this size is followed by the next; so is the last one of a day (UTC).
        "rotateBytes" => rotate_bytes: u64 = bytes("256 MiB", 4_096..=1_099_511_627_776);
        /// Whether a value that a spreadsheet would run as a formula gets a quote before it.
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
        /// A file of this size is followed by the next; so is the last one of a day (UTC).
        "rotateBytes" => rotate_bytes: u64 = bytes("256 MiB", 4_096..=1_099_511_627_776);
        /// Whether a value that a spreadsheet would run as a formula gets a quote before it.
        "neutraliseFormulas" => neutralise_formulas: bool = yes();
    }
}

section! {
    /// Events that a destination refused, each with its reason.
    pub struct DeadLetters {
        /// Directory of the files.
        "directory" => directory: String = text("./data/dead-letters");
        /// Most bytes; the oldest make room, counted.
        "bytesMax" => bytes_max: u64 = bytes("256 MiB", 4_096..=1_099_511_627_776);
        /// Most bytes of events that a limit of a destination keeps out (`max-values-per-tag` of InfluxDB 1, for
        /// instance), for each destination, in the directory `parked`. None goes to make room: the destination waits.
        "parkedBytesMax" => parked_bytes_max: u64 = bytes("256 MiB", 65_536..=1_099_511_627_776);
        /// Seconds between two tries of all that is parked; the first is at the start.
        "parkedRetrySeconds" => parked_retry_seconds: u64 = int(3_600, 1..=604_800);
    }
}

section! {
    /// Datagrams that are no user events: their first bytes, source and time.
    pub struct Quarantine {
        /// Directory of the files.
        "directory" => directory: String = text("./data/quarantine");
        /// Most bytes; the oldest make room, counted.
        "bytesMax" => bytes_max: u64 = bytes("16 MiB", 4_096..=1_099_511_627_776);
    }
}
