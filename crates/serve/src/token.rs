//! Feedback tokens: what was predicted, signed, and carried by the client until the truth is known.
//!
//! No store and no routing: any server with the key can count a label for an answer that another gave. To clients a
//! token is opaque; it is signed, not secret.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{config::Role, predict::Predicted};

/// Bytes of HMAC-SHA-256.
const TAG: usize = 32;

/// How far another server's clock may be ahead.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// The secret that signs tokens, shared by the servers of one model.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// A key known to nobody else.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The secret, to be handed to another server by a private way (a file of mode 600, a Secret).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl From<[u8; 32]> for TokenKey {
    fn from(secret: [u8; 32]) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) model: String,
    pub(crate) version: String,
    pub(crate) role: Role,
    pub(crate) slice: String,
    /// Milliseconds since 1970.
    pub(crate) issued: u64,
    /// Tells two answers of the same millisecond apart.
    pub(crate) serial: u64,
    pub(crate) predicted: Predicted,
}

/// A number unlike any other of this process; two processes start far apart.
pub(crate) fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    START.get_or_init(rand::random).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Why a token was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is not one of ours, or was changed on the way; send it back exactly as it came")]
    Forged,
    #[error("the token has expired; send labels sooner, or raise the server's feedback age")]
    Expired,
    #[error("the token is from the future; set the servers' clocks")]
    Future,
}

fn mac(key: &TokenKey) -> Hmac<Sha256> {
    // `KeyInit::new` takes exactly a block of 64 bytes: HMAC pads shorter keys with zeros.
    let mut block = [0; 64];
    block[..32].copy_from_slice(&key.0);
    Hmac::new(&block.into())
}

/// Signs `claims`.
pub(crate) fn sign(key: &TokenKey, claims: &Claims) -> Result<String, serde_json::Error> {
    let mut bytes = vec![0; TAG];
    serde_json::to_writer(&mut bytes, claims)?;
    let mut mac = mac(key);
    mac.update(&bytes[TAG..]);
    bytes[..TAG].copy_from_slice(&mac.finalize().into_bytes());
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Reads `token` back, at the time `now`; it must be ours and at most `age` old.
pub(crate) fn verify(key: &TokenKey, token: &str, now: u64, age: Duration) -> Result<Claims, TokenError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Forged)?;
    let (tag, body) = bytes.split_at_checked(TAG).ok_or(TokenError::Forged)?;
    let mut mac = mac(key);
    mac.update(body);
    // Constant time.
    mac.verify_slice(tag).map_err(|_| TokenError::Forged)?;
    let claims: Claims = serde_json::from_slice(body).map_err(|_| TokenError::Forged)?;
    if u128::from(now.saturating_sub(claims.issued)) > age.as_millis() {
        return Err(TokenError::Expired);
    }
    if u128::from(claims.issued.saturating_sub(now)) > CLOCK_SKEW.as_millis() {
        return Err(TokenError::Future);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_mins(1);

    fn claims() -> Claims {
        Claims {
            model: "digits".into(),
            version: "v1".into(),
            role: Role::Candidate,
            slice: "round".into(),
            issued: 1_000_000,
            serial: serial(),
            predicted: Predicted::Classes(vec![3, 8]),
        }
    }

    #[test]
    fn a_token_comes_back_as_it_went() {
        let (key, claims) = (TokenKey::random(), claims());
        let token = sign(&key, &claims).expect("signed");
        assert_eq!(verify(&key, &token, claims.issued + 10, AGE), Ok(claims));
    }

    #[test]
    fn a_changed_byte_another_key_or_rubbish_is_forged() {
        let (key, claims) = (TokenKey::random(), claims());
        let token = sign(&key, &claims).expect("signed");
        assert_eq!(verify(&TokenKey::random(), &token, claims.issued, AGE), Err(TokenError::Forged));
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&token).expect("base64");
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let changed = BASE64_URL_SAFE_NO_PAD.encode(bytes);
            assert_eq!(verify(&key, &changed, claims.issued, AGE), Err(TokenError::Forged), "byte {at}");
        }
        for rubbish in ["", "hello", "////"] {
            assert_eq!(verify(&key, rubbish, claims.issued, AGE), Err(TokenError::Forged));
        }
    }

    #[test]
    fn a_token_ends_with_its_age_and_does_not_come_from_the_future() {
        let (key, claims) = (TokenKey::random(), claims());
        let token = sign(&key, &claims).expect("signed");
        assert!(verify(&key, &token, claims.issued + 60_000, AGE).is_ok());
        assert_eq!(verify(&key, &token, claims.issued + 60_001, AGE), Err(TokenError::Expired));
        assert!(verify(&key, &token, claims.issued - 60_000, AGE).is_ok());
        assert_eq!(verify(&key, &token, claims.issued - 60_001, AGE), Err(TokenError::Future));
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", TokenKey::from([7; 32])), "TokenKey(..)");
    }
}
