//! `Butler-SOS.userEvents`: user events by UDP (user-events contract).

use super::{NameValue, User};
use butler_sos_settings::section;

section! {
    /// User events: sessions and connections of users, sent by the Qlik Sense proxies by UDP.
    pub struct UserEvents {
        /// Whether user events are received.
        "enable" => enable: bool = no();
        /// Users whose events are dropped before any destination, and counted.
        "excludeUser" => exclude_user: Vec<User> = list_of::<User>();
        /// Where and how datagrams are received.
        "udpServerConfig" => udp_server: UdpServerConfig = group::<UdpServerConfig>();
        /// Tags added to every point in InfluxDB and to every MQTT message.
        "tags" => tags: Vec<NameValue> = list_of::<NameValue>();
        /// User events to the MQTT broker.
        "sendToMQTT" => send_to_mqtt: SendToMqtt = group::<SendToMqtt>();
        /// User events to InfluxDB.
        "sendToInfluxdb" => send_to_influxdb: SendToInfluxdb = group::<SendToInfluxdb>();
        /// User events to New Relic.
        "sendToNewRelic" => send_to_new_relic: SendToNewRelic = group::<SendToNewRelic>();
    }
}

section! {
    /// The UDP socket and what is done before a datagram is parsed.
    pub struct UdpServerConfig {
        /// Address to listen on: a name, IPv4 or IPv6; `0.0.0.0` and `::` mean all addresses.
        "serverHost" => server_host: String = text("0.0.0.0");
        /// Port to listen on.
        "portUserActivityEvents" => port: u16 = listen_port(9997);
        /// The queue between the socket and the journal.
        "messageQueue" => message_queue: UserMessageQueue = group::<UserMessageQueue>();
        /// Datagrams beyond this rate are dropped and counted.
        "rateLimit" => rate_limit: MessageRateLimit = group::<MessageRateLimit>();
        /// Larger datagrams are dropped and counted. 65507 is the most that UDP carries.
        "maxMessageSize" => max_message_size: u32 = int(65_507, 1..=65_507);
        /// Whether only datagrams from `allowedSources` are accepted.
        "enableSourceValidation" => enable_source_validation: bool = no();
        /// Names, addresses or networks (CIDR) that can send events. Names are resolved again every 5 minutes.
        "allowedSources" => allowed_sources: Vec<String> = list_of_text();
        /// Queue metrics that are written to InfluxDB. While InfluxDB is down, they are dropped.
        "queueMetrics" => queue_metrics: UserQueueMetrics = group::<UserQueueMetrics>();
        ignored "backpressure";
    }
}

section! {
    /// The bound between the socket and the journal.
    pub struct UserMessageQueue {
        /// Maximum number of waiting events. Butler SOS has 200; a file that sets 200 gets 200.
        "maxSize" => max_size: u32 = int(100_000, 1..=10_000_000);
        /// Warn when the queue is this full, in percent.
        "backpressureThreshold" => backpressure_threshold: u8 = int(80, 1..=100);
        ignored "maxConcurrent";
        ignored "dropStrategy";
    }
}

section! {
    /// A limit in fixed windows of one minute.
    pub struct MessageRateLimit {
        /// Whether the limit is enabled.
        "enable" => enable: bool = no();
        /// Messages accepted per minute.
        "maxMessagesPerMinute" => max_messages_per_minute: u32 = int(600, 1..=4_000_000_000);
        ignored "violationLogThrottle";
    }
}

section! {
    /// Queue metrics of user events.
    pub struct UserQueueMetrics {
        /// To the InfluxDB of `influxdbConfig`.
        "influxdb" => influxdb: UserQueueMetricsInfluxdb = group::<UserQueueMetricsInfluxdb>();
    }
}

section! {
    /// The measurement with the queue's figures.
    pub struct UserQueueMetricsInfluxdb {
        /// Whether it is written.
        "enable" => enable: bool = no();
        /// Milliseconds between two points.
        "writeFrequency" => write_frequency: u64 = millis(20_000);
        /// Its name.
        "measurementName" => measurement_name: String = text("user_events_queue");
        /// Tags added to each point.
        "tags" => tags: Vec<NameValue> = list_of::<NameValue>();
    }
}

section! {
    /// User events to the MQTT broker of `mqttConfig`.
    pub struct SendToMqtt {
        /// Whether they are sent.
        "enable" => enable: bool = no();
        /// The topics.
        "postTo" was "topic" => post_to: PostTo = group::<PostTo>();
    }
}

section! {
    /// Which event goes to which topic.
    pub struct PostTo {
        /// Every event.
        "everythingTopic" => everything: EverythingTopic = group::<EverythingTopic>();
        /// `Start session`.
        "sessionStartTopic" => session_start: SessionStartTopic = group::<SessionStartTopic>();
        /// `Stop session`.
        "sessionStopTopic" => session_stop: SessionStopTopic = group::<SessionStopTopic>();
        /// `Open connection`.
        "connectionOpenTopic" => connection_open: ConnectionOpenTopic = group::<ConnectionOpenTopic>();
        /// `Close connection`.
        "connectionCloseTopic" => connection_close: ConnectionCloseTopic =
            group::<ConnectionCloseTopic>();
    }
}

section! {
    /// The topic of every event.
    pub struct EverythingTopic {
        /// Whether messages are published to it.
        "enable" => enable: bool = yes();
        /// The topic.
        "topic" => topic: String = text("qliksense/userevent");
    }
}

section! {
    /// The topic of sessions that start.
    pub struct SessionStartTopic {
        /// Whether messages are published to it.
        "enable" => enable: bool = yes();
        /// The topic.
        "topic" => topic: String = text("qliksense/userevent/session/start");
    }
}

section! {
    /// The topic of sessions that stop.
    pub struct SessionStopTopic {
        /// Whether messages are published to it.
        "enable" => enable: bool = yes();
        /// The topic.
        "topic" => topic: String = text("qliksense/userevent/session/stop");
    }
}

section! {
    /// The topic of connections that open.
    pub struct ConnectionOpenTopic {
        /// Whether messages are published to it.
        "enable" => enable: bool = yes();
        /// The topic.
        "topic" => topic: String = text("qliksense/userevent/connection/open");
    }
}

section! {
    /// The topic of connections that close.
    pub struct ConnectionCloseTopic {
        /// Whether messages are published to it.
        "enable" => enable: bool = yes();
        /// The topic.
        "topic" => topic: String = text("qliksense/userevent/connection/close");
    }
}

section! {
    /// User events to InfluxDB.
    pub struct SendToInfluxdb {
        /// Whether they are written to the InfluxDB of `influxdbConfig`.
        "enable" => enable: bool = no();
    }
}

section! {
    /// User events to New Relic.
    pub struct SendToNewRelic {
        /// Whether they are sent.
        "enable" => enable: bool = no();
        /// Names of accounts in `thirdPartyToolsCredentials.newRelic`.
        "destinationAccount" => destination_account: Vec<String> = list_of_text();
        /// Whether user names are replaced by a hash.
        "scramble" => scramble: bool = yes();
    }
}
