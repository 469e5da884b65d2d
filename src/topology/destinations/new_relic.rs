//! New Relic: user events, one destination for each account.

use butler_sos_actors::journal::message::FetchLimits;
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::sinks::new_relic::client::{
    EVENTS_MAX, NewRelicAccount, NewRelicClient, NewRelicConfig, POST_TIMEOUT,
};
use butler_sos_actors::sinks::new_relic::new_relic_sink::{self, NewRelic};
use butler_sos_actors::sinks::records::user_events::UserEventObjects;
use butler_sos_domain::encode::new_relic::{UserAttributes, VERSION_ATTRIBUTE};
use slog::Logger;

use super::planned::{Identity, Planned, at_once};
use super::probe::{PATIENCE, Probe, detail};
use super::{Entry, no_certificates, no_directories};
use crate::config::Config;
use crate::topology::settings::{bound, pairs};

pub const ENTRIES: &[Entry] =
    &[Entry { plan, probes, directories: no_directories, certificates: no_certificates }];

fn plan(config: &Config, reread: &Reread, log: &Logger) -> Vec<Planned> {
    if !config.user_events_to_new_relic() {
        return Vec::new();
    }
    let objects = UserEventObjects(attributes(config));
    let consumers = new_relic_sink::consumers(accounts(config)).into_iter().enumerate();
    let planned = consumers.map(|(index, (consumer, account))| {
        let identity = Identity {
            stream: consumer.stream,
            name: consumer.name,
            label: match index {
                0 => "New Relic".into(),
                _ => format!("New Relic {}", account.id).into(),
            },
            error_type: ("NEW_RELIC_POST", "USER_EVENTS_NEW_RELIC"),
            mailbox_max: bound(config.pipeline.actors.new_relic_sink.mailbox),
        };
        let new_relic = NewRelicConfig { reread: reread.clone(), ..new_relic(config, account) };
        let (objects, log) = (objects.clone(), log.clone());
        let fetch_limits = FetchLimits { records_max: EVENTS_MAX, ..at_once() };
        Planned::new(identity, fetch_limits, move || {
            NewRelic::new(new_relic.clone(), objects.clone(), log.clone())
        })
    });
    planned.collect()
}

fn probes(config: &Config) -> Vec<Probe> {
    if !config.user_events_to_new_relic() {
        return Vec::new();
    }
    let probe = |account| {
        let new_relic = NewRelicConfig { timeout: PATIENCE, ..new_relic(config, account) };
        Probe::plain("Butler-SOS.newRelic.event.url", async {
            let client = NewRelicClient::new(new_relic).map_err(|error| error.to_string())?;
            client.examine().await.map_err(detail)
        })
    };
    accounts(config).into_iter().map(probe).collect()
}

/// The chosen accounts for user events, in the order of the setting.
fn accounts(config: &Config) -> Vec<NewRelicAccount> {
    let accounts = &config.butler_sos.third_party_tools_credentials.new_relic;
    let chosen = &config.butler_sos.user_events.send_to_new_relic.destination_account;
    let account = |name: &String| accounts.iter().find(|account| account.account_name == *name);
    // A name without an account was rejected when the configuration was read.
    let found = chosen.iter().filter_map(account);
    found
        .map(|account| NewRelicAccount {
            id: account.account_id.clone(),
            api_key: account.insert_api_key.to_secret_string(),
        })
        .collect()
}

fn new_relic(config: &Config, account: NewRelicAccount) -> NewRelicConfig {
    let event = &config.butler_sos.new_relic.event;
    let headers = event.header.iter().map(|of| (of.name.clone(), of.value.to_secret_string())).collect();
    NewRelicConfig {
        url: event.url.clone(),
        account,
        headers,
        timeout: POST_TIMEOUT,
        reread: Reread::default(),
    }
}

fn attributes(config: &Config) -> UserAttributes {
    let events = &config.butler_sos.user_events;
    let attribute = &config.butler_sos.new_relic.event.attribute;
    let mut attributes = pairs(&attribute.fixed);
    if attribute.dynamic.version.enable {
        attributes.push((VERSION_ATTRIBUTE.to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    }
    UserAttributes::new(events.send_to_new_relic.scramble, &pairs(&events.tags), &attributes)
}
