//! A client of one InfluxDB that creates the database on demand. It belongs to the arbiter that uses it.

use std::time::Duration;

use bytes::Bytes;
use slog::{Logger, info, warn};

use crate::kit::delivery_error::DeliveryError;
use crate::sinks::influx::admin::{Prepared, look, prepare};
use crate::sinks::influx::answer::Verdict;
use crate::sinks::influx::client::{InfluxClient, InfluxConfig};

/// A connection to one InfluxDB.
pub(crate) struct InfluxConnection {
    config: InfluxConfig,
    log: Logger,
    client: Option<InfluxClient>,
    /// How often it had been asked to read files again when it was made.
    made_at: u64,
    /// Whether the database was found or created since the server last reported it missing.
    is_prepared: bool,
}

impl InfluxConnection {
    pub fn new(config: InfluxConfig, log: Logger) -> Self {
        Self { config, log, client: None, made_at: 0, is_prepared: false }
    }

    /// A client, after the database is prepared.
    pub async fn ready(&mut self) -> Result<&mut InfluxClient, DeliveryError> {
        let asked = self.config.reread.asked();
        if self.client.is_none() || self.made_at != asked {
            self.made_at = asked;
            let client = InfluxClient::new(self.config.clone());
            match (client, &self.client) {
                (Ok(client), _) => self.client = Some(client),
                (Err(error), None) => return Err(DeliveryError::new("config", error.to_string())),
                (Err(error), Some(_)) => {
                    warn!(self.log, "the TLS files of a connection are unusable, the previous ones stay in use";
                    "to" => "InfluxDB", "error" => %error)
                }
            }
        }
        let client = self.client.as_mut().ok_or_else(|| DeliveryError::new("config", "no client"))?;
        if !self.is_prepared {
            let prepared = match self.config.create_database {
                true => prepare(client).await?,
                false => look(client).await?,
            };
            match prepared {
                Prepared::Present => {}
                Prepared::Made => info!(self.log, "database created in InfluxDB"; "at" => ?client),
                Prepared::NotAllowed(detail) => {
                    warn!(self.log, "cannot check for the database in InfluxDB, permissions are missing; events are written anyway";
                        "at" => ?client, "error" => detail);
                }
            }
            self.is_prepared = true;
        }
        Ok(client)
    }

    /// The configured time-out of a write.
    pub fn timeout(&self) -> Duration {
        self.config.write_timeout
    }

    /// Sends lines and returns the meaning of the answer.
    pub async fn write(&mut self, lines: Bytes, timeout: Duration) -> Verdict {
        let answer = match self.ready().await {
            Ok(client) => {
                client.set_write_timeout(timeout);
                client.write(lines).await
            }
            Err(trouble) => Err(trouble),
        };
        let verdict = answer.map_or_else(Verdict::DeliveryError, |reply| reply.verdict());
        if let Verdict::DeliveryError(trouble) = &verdict {
            self.is_prepared &= trouble.class != "http-404";
        }
        verdict
    }
}
