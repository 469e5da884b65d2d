//! Bytes from the journal are a record that encodes to itself, or an error.

use butler_sos_domain::audit::{AuditEvent, AuditRecord};
use butler_sos_domain::encode::audit_mqtt;
use butler_sos_domain::event::UserEvent;

/// The first byte says which kind of record follows.
pub fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    if kind.is_multiple_of(2) {
        if let Ok(event) = UserEvent::decode(bytes) {
            let mut again = Vec::new();
            event.encode_into(&mut again);
            assert_eq!(again, bytes);
        }
    } else if let Ok(record) = AuditRecord::decode(bytes) {
        let mut again = Vec::new();
        record.encode_into(&mut again);
        assert_eq!(again, bytes);
        if AuditEvent::from_record(record.clone()).is_ok() {
            audit_mqtt::write(&record, &mut again);
        }
    }
}
