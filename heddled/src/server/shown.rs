//! Who a caller says it is: the session that it names and the secret that it shows.

use proto_schema::{ReservationToken, SessionId, Shown};

use super::advice::{About, explain};
use super::context::Context;
use super::error::WireError;
use crate::coordinator::hash;
use crate::registry::{Refusal, TokenHash};

/// The session that a caller names; one that is malformed is not known.
pub(super) fn named(context: &Context, session: Shown<SessionId>) -> Result<SessionId, WireError> {
    session.get().ok_or_else(|| explain(context, &Refusal::NotFound.into(), &About::default()))
}

/// The hash of the secret that a caller shows; one that is malformed is nobody's.
pub(super) fn hashed(token: Shown<ReservationToken>) -> TokenHash {
    token.get().map_or(TokenHash::NOBODYS, |token| hash(&token))
}
