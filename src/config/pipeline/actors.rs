//! `Pipeline.actors` and `Pipeline.supervision`. Names are the actors' own in camelCase.

use butler_sos_settings::section;

section! {
    /// What happens when an actor panics: it is restarted, its mailbox is kept.
    pub struct Supervision {
        /// Restarts of one actor within the window. One more panic ends the process with status 70, so that the service
        /// manager restarts it.
        "maxRestarts" => max_restarts: u32 = int(4, 0..=1_000);
        /// The window.
        "windowSeconds" => window_seconds: u64 = int(60, 1..=86_400);
        /// Milliseconds before the first restart; the pause doubles with each further restart within the window.
        "backoffMs" => backoff_ms: u64 = int(100, 0..=60_000);
    }
}

section! {
    /// Bounds and threads, one section an actor.
    pub struct Actors {
        /// Receives datagrams in a separate thread.
        "udpIngestor" => udp_ingestor: Mailbox = group::<Mailbox>();
        /// Serves the audit API.
        "auditHttpIngestor" => audit_http_ingestor: AuditHttpIngestor = group::<AuditHttpIngestor>();
        /// Parses and enriches events.
        "userParser" => user_parser: Mailbox = group::<Mailbox>();
        /// Requests app names from QRS.
        "appDirectory" => app_directory: Mailbox = group::<Mailbox>();
        /// Stores events on disk.
        "journal" => journal: JournalActor = group::<JournalActor>();
        /// Downloads screenshots and follows redirects.
        "redirectWalker" => redirect_walker: RedirectWalker = group::<RedirectWalker>();
        /// Keeps sessions.
        "sessionCacheActor" => session_cache_actor: Mailbox = group::<Mailbox>();
        /// Requests tickets from QPS.
        "ticketActor" => ticket_actor: TicketActor = group::<TicketActor>();
        /// Writes images, one thread per download.
        "imageWriter" => image_writer: Mailbox = group::<Mailbox>();
        /// Writes to InfluxDB.
        "influxSink" => influx_sink: SinkMailbox = group::<SinkMailbox>();
        /// Publishes by MQTT.
        "mqttSink" => mqtt_sink: SinkMailbox = group::<SinkMailbox>();
        /// Writes CSV files.
        "csvSink" => csv_sink: SinkMailbox = group::<SinkMailbox>();
        /// Writes JSON files.
        "jsonSink" => json_sink: SinkMailbox = group::<SinkMailbox>();
        /// Writes Parquet files.
        "parquetSink" => parquet_sink: SinkMailbox = group::<SinkMailbox>();
        /// Writes QVD files.
        "qvdSink" => qvd_sink: SinkMailbox = group::<SinkMailbox>();
        /// Sends to New Relic.
        "newRelicSink" => new_relic_sink: SinkMailbox = group::<SinkMailbox>();
    }
}

section! {
    /// An actor with a mailbox alone.
    pub struct Mailbox {
        /// Mailbox size in messages (a message is a batch of events or a request).
        "mailbox" => mailbox: usize = int(256, 1..=1_000_000);
    }
}

section! {
    /// A destination. Events are not bounded here: a sink fetches them from the journal.
    pub struct SinkMailbox {
        /// Orders to deliver events once more (retried dead letters, replays) that may wait, each with a batch of events.
        "mailbox" => mailbox: usize = int(16, 1..=1_000_000);
    }
}

section! {
    /// The audit API.
    pub struct AuditHttpIngestor {
        /// Mailbox size in messages.
        "mailbox" => mailbox: usize = int(256, 1..=1_000_000);
        /// Threads that serve connections, at most one per processor.
        "threads" => threads: usize = int(2, 1..=256);
    }
}

section! {
    /// The journal.
    pub struct JournalActor {
        /// Mailbox size in batches and requests.
        "mailbox" => mailbox: usize = int(1_024, 1..=1_000_000);
    }
}

section! {
    /// The walk from host to host.
    pub struct RedirectWalker {
        /// Mailbox size in messages.
        "mailbox" => mailbox: usize = int(256, 1..=1_000_000);
        /// Concurrent downloads. Empty: `Pipeline.screenshots.concurrency`.
        "concurrency" => concurrency: Option<usize> = maybe_int(1..=1_024);
    }
}

section! {
    /// Tickets.
    pub struct TicketActor {
        /// Mailbox size in requests.
        "mailbox" => mailbox: usize = int(256, 1..=1_000_000);
        /// Concurrent requests to QPS.
        "concurrency" => concurrency: usize = int(16, 1..=1_024);
    }
}
