//! `Butler-SOS.newRelic` and `Butler-SOS.thirdPartyToolsCredentials`.

use super::NameValue;
use butler_sos_settings::{secret::Secret, section};

section! {
    /// New Relic.
    pub struct NewRelic {
        /// Whether anything is sent.
        "enable" => enable: bool = no();
        /// Events.
        "event" => event: NewRelicEvent = group::<NewRelicEvent>();
        ignored "metric";
    }
}

section! {
    /// Events for New Relic.
    pub struct NewRelicEvent {
        /// Address of the event API without a path; it depends on the region of the account.
        "url" => url: String = text("https://insights-collector.eu01.nr-data.net");
        /// HTTP headers added to each request.
        "header" => header: Vec<Header> = list_of::<Header>();
        /// Attributes added to each event.
        "attribute" => attribute: NewRelicAttribute = group::<NewRelicAttribute>();
    }
}

section! {
    /// A header. What it is for is not known here, so its value is hidden as keys are.
    pub struct Header {
        /// The name.
        "name" => name: String = needed_text();
        /// The value: as it is, `${NAME}` of the environment, or `file:/path` of a file.
        "value" => value: Secret = secret();
    }
}

section! {
    /// Attributes of events.
    pub struct NewRelicAttribute {
        /// The same for every event.
        "static" => fixed: Vec<NameValue> = list_of::<NameValue>();
        /// From the server.
        "dynamic" => dynamic: NewRelicDynamic = group::<NewRelicDynamic>();
    }
}

section! {
    /// Attributes that the server knows.
    pub struct NewRelicDynamic {
        /// The version of the server.
        "butlerSosVersion" => version: NewRelicVersion = group::<NewRelicVersion>();
    }
}

section! {
    /// The server's version as an attribute.
    pub struct NewRelicVersion {
        /// Whether it is added.
        "enable" => enable: bool = no();
    }
}

section! {
    /// Accounts of third parties.
    pub struct ThirdPartyToolsCredentials {
        /// Accounts at New Relic.
        "newRelic" => new_relic: Vec<NewRelicAccount> = list_of::<NewRelicAccount>();
    }
}

section! {
    /// An account at New Relic.
    pub struct NewRelicAccount {
        /// The name that other sections refer to.
        "accountName" => account_name: String = needed_text();
        /// The insert key.
        "insertApiKey" => insert_api_key: Secret = secret();
        /// The account id.
        "accountId" => account_id: String = needed_text();
    }
}
