//! Configurations of servers under test, put together from pieces.
//!
//! They are written as JSON, which every reader of YAML reads. In texts, `{dir}` stands for the
//! sandbox's directory.

use serde_json::{Value, json};

use crate::mosquitto::Mosquitto;

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Settings(Value);

impl Settings {
    /// Free ports, everything that is written below the sandbox's directory, retries that a test can wait for, and
    /// neither intake nor destination yet.
    pub fn bare() -> Self {
        Self(json!({
            "Pipeline": {
                "operations": { "host": "127.0.0.1", "port": 0 },
                "journal": { "directory": "{dir}/journal", "commitIntervalMs": 10 },
                "deadLetters": { "directory": "{dir}/dead-letters" },
                "quarantine": { "directory": "{dir}/quarantine" },
                "retry": { "firstMs": 10, "longestMs": 100 },
            },
        }))
    }

    /// [`Settings::bare`] with user events.
    pub fn user_events() -> Self {
        Self::bare().and(json!({ "Butler-SOS": { "userEvents": {
            "enable": true,
            "udpServerConfig": { "serverHost": "127.0.0.1", "portUserActivityEvents": 0 },
        } } }))
    }

    /// The same with more: objects are merged, everything else is replaced.
    #[must_use]
    pub fn and(mut self, more: Value) -> Self {
        merge(&mut self.0, more);
        self
    }

    pub fn value(self) -> Value {
        self.0
    }

    pub fn text(&self) -> String {
        self.0.to_string()
    }
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// User events to the InfluxDB of this version at `localhost`; for the token or password `t0ken`.
pub fn influx(version: u8, port: u16) -> Value {
    json!({ "Butler-SOS": {
        "userEvents": { "sendToInfluxdb": { "enable": true } },
        "influxdbConfig": {
            "enable": true, "host": "127.0.0.1", "port": port, "version": version,
            "v1Config": { "dbName": "senseops" },
            "v2Config": { "org": "org", "bucket": "senseops", "token": "t0ken" },
            "v3Config": { "database": "senseops", "token": "t0ken" },
        },
    } })
}

/// User events to a broker, in all topics.
pub fn mqtt(broker: &Mosquitto) -> Value {
    let options = broker.options();
    let mut config = json!({ "enable": true, "brokerHost": "localhost", "brokerPort": broker.port() });
    if let Some((user, password)) = options.login {
        merge(&mut config, json!({ "username": user, "password": password }));
    }
    if options.tls {
        merge(&mut config, json!({ "tls": { "enable": true, "ca": broker.authority() } }));
    }
    if options.client_certificate {
        let (cert, key) = broker.client_certificate();
        merge(&mut config, json!({ "tls": { "cert": cert, "key": key } }));
    }
    json!({ "Butler-SOS": { "userEvents": { "sendToMQTT": { "enable": true } }, "mqttConfig": config } })
}

/// User events to a broker, all in this topic and in no other.
pub fn one_topic(host: &str, port: u16, topic: &str) -> Value {
    json!({ "Butler-SOS": {
        "mqttConfig": { "enable": true, "brokerHost": host, "brokerPort": port },
        "userEvents": { "sendToMQTT": { "enable": true, "postTo": {
            "everythingTopic": { "enable": true, "topic": topic },
            "sessionStartTopic": { "enable": false },
            "sessionStopTopic": { "enable": false },
            "connectionOpenTopic": { "enable": false },
            "connectionCloseTopic": { "enable": false },
        } } },
    } })
}

/// User events to one account of New Relic, which is at `url`.
pub fn new_relic(url: &str, account: (&str, &str), scramble: bool) -> Value {
    let (id, key) = account;
    json!({ "Butler-SOS": {
        "userEvents": {
            "sendToNewRelic": { "enable": true, "destinationAccount": ["one"], "scramble": scramble },
        },
        "newRelic": { "enable": true, "event": { "url": url } },
        "thirdPartyToolsCredentials": {
            "newRelic": [{ "accountName": "one", "insertApiKey": key, "accountId": id }],
        },
    } })
}

/// User events to CSV files in `{dir}/csv`.
pub fn csv() -> Value {
    json!({ "Pipeline": { "csv": { "userEvents": { "enable": true, "exportDirectory": "{dir}/csv" } } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_merged() {
        let settings = Settings(json!({ "a": { "b": 1, "c": [1] } }));
        let settings = settings.and(json!({ "a": { "c": [2], "d": { "e": 3 } } }));
        assert_eq!(settings.0, json!({ "a": { "b": 1, "c": [2], "d": { "e": 3 } } }));
    }
}
