//! Sticky cookies: a value for each endpoint of a service, and back. Made when endpoints change, not for each request.
//!
//! A value is a keyed hash of the endpoint's address (HMAC-SHA-256, the first 64 bits in hexadecimal): all who have the
//! key make the same ones, on any worker and node, and nobody reads an address from one.

use aws_lc_rs::hmac;
use rustc_hash::FxHashMap;

use crate::balance::{Address, Slot};
use crate::snapshot::StickyPlan;

/// Bytes of a value.
const VALUE_BYTES: usize = 16;
type Value = [u8; VALUE_BYTES];

/// The values of one service.
#[derive(Debug)]
pub(super) struct Sticky {
    plan: StickyPlan,
    /// What follows a value in its field, but for `Secure`.
    tail: Vec<u8>,
    slots: FxHashMap<Value, Slot>,
    values: FxHashMap<Slot, Value>,
}

impl Sticky {
    /// For these endpoints.
    pub fn new<'a>(plan: &StickyPlan, endpoints: impl Iterator<Item = (Slot, &'a Address)>) -> Sticky {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &plan.key);
        let values: FxHashMap<Slot, Value> =
            endpoints.map(|(slot, address)| (slot, value(&key, address))).collect();
        let ttl = plan.ttl_s.map_or(String::new(), |seconds| format!("; Max-Age={seconds}"));
        Sticky {
            plan: plan.clone(),
            tail: format!("{ttl}; Path=/; HttpOnly; SameSite=Lax").into_bytes(),
            slots: values.iter().map(|(slot, value)| (*value, *slot)).collect(),
            values,
        }
    }

    /// Whose value this is.
    pub fn slot(&self, value: &[u8]) -> Option<Slot> {
        let value: &Value = value.try_into().ok()?;
        self.slots.get(value).copied()
    }

    /// Writes the field that sends the client to this endpoint again.
    pub fn put(&self, slot: Slot, secure: bool, out: &mut Vec<u8>) {
        let Some(value) = self.values.get(&slot) else { return };
        let secure: &[u8] = if secure { b"; Secure" } else { b"" };
        for part in [b"Set-Cookie: ", &self.plan.cookie[..], b"=", value, &self.tail, secure, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

fn value(key: &hmac::Key, address: &Address) -> Value {
    let tag = hmac::sign(key, address.to_string().as_bytes());
    let mut value = [0; VALUE_BYTES];
    for (pair, byte) in value.chunks_exact_mut(2).zip(tag.as_ref()) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(key: &str, ttl_s: Option<u64>) -> StickyPlan {
        StickyPlan { cookie: b"to"[..].into(), ttl_s, key: key.as_bytes().into() }
    }

    fn sticky(plan: &StickyPlan, ports: &[u16]) -> Sticky {
        let addresses: Vec<Address> =
            ports.iter().map(|port| Address::Ip(([127, 0, 0, 1], *port).into())).collect();
        Sticky::new(plan, (0..).map(Slot).zip(&addresses))
    }

    fn field(sticky: &Sticky, slot: u32, secure: bool) -> String {
        let mut out = Vec::new();
        sticky.put(Slot(slot), secure, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn value_in(field: &str) -> &str {
        field.strip_prefix("Set-Cookie: to=").unwrap().split(';').next().unwrap()
    }

    #[test]
    fn a_value_leads_back_to_its_endpoint_wherever_that_has_its_slot() {
        let (one, other) = (sticky(&plan("k", None), &[1, 2, 3]), sticky(&plan("k", None), &[3, 2]));
        let field = field(&one, 2, false);
        assert_eq!(field, format!("Set-Cookie: to={}; Path=/; HttpOnly; SameSite=Lax\r\n", value_in(&field)));
        assert_eq!(one.slot(value_in(&field).as_bytes()), Some(Slot(2)));
        assert_eq!(other.slot(value_in(&field).as_bytes()), Some(Slot(0)));
        for strange in ["", "x", "0123456789abcdef", &format!("{}0", value_in(&field))] {
            assert_eq!(one.slot(strange.as_bytes()), None);
        }
    }

    #[test]
    fn a_value_hangs_on_the_key_and_tells_no_address() {
        let values: Vec<String> = ["a", "b"]
            .iter()
            .map(|key| value_in(&field(&sticky(&plan(key, None), &[9001]), 0, false)).to_owned())
            .collect();
        assert_ne!(values[0], values[1]);
        assert!(values.iter().all(|value| value.len() == VALUE_BYTES && !value.contains("9001")));
    }

    #[test]
    fn the_field_says_how_long_and_whether_by_tls_only() {
        let sticky = sticky(&plan("k", Some(3600)), &[1]);
        assert!(
            field(&sticky, 0, true).ends_with("; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure\r\n")
        );
        assert_eq!(field(&sticky, 1, true), "", "nothing of who is gone");
    }
}
