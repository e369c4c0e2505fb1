//! Reserving exactly once: the token is on disk before the daemon is asked, and a lost answer is asked for again.

use data_encoding::Encoding;
use proto_schema::{Kind, RequestId, Reservation, ReservationToken, ReserveParams, ReserveResult};

use crate::app::App;
use crate::client::{Answer, CallError, Client};
use crate::error::Error;
use crate::exit::Exit;
use crate::tokens::Tokens;
use crate::wait;

/// A reservation that was granted.
#[derive(Debug)]
pub(crate) struct Granted {
    /// The daemon's answer, with the token in it.
    pub(crate) answer: Answer,
    /// The same, read.
    pub(crate) result: ReserveResult,
    /// The secret.
    pub(crate) token: ReservationToken,
}

impl Granted {
    /// The reservation.
    pub(crate) fn reservation(&self) -> &Reservation {
        &self.result.reservation
    }

    /// The daemon's answer with null for the token, else byte for byte as it came.
    pub(crate) fn redacted(&self) -> String {
        self.answer.0.replace(&format!("\"{}\"", self.token.expose()), "null")
    }
}

/// Reserves; gives back the connection too, for what comes after.
///
/// Who would wait asks without waiting first: only so can be told who holds the thread before the wait is over.
pub(crate) fn obtain(app: &App, mut params: ReserveParams) -> Result<(Client, Granted), Error> {
    let token = new_token()?;
    let request = request_id()?;
    params.request_id = Some(request.clone());
    params.reservation_token = Some(token.clone());
    let wait_ms = params.wait_ms.take().filter(|ms| *ms > 0);

    let mut client = app.connect()?;
    let tokens = app.connector.tokens(&client);
    let pending = tokens.begin(&request, &token)?;
    let mut answer = ask(app, &mut client, &params);
    if let (Some(wait_ms), Err(error)) = (wait_ms, &answer)
        && let Some(held) = wait::held(error)
    {
        wait::tell(app, &params.thread, &held);
        answer = wait::ask(app, &mut client, &mut params, wait_ms);
    }
    app.tell_skew(&mut client);
    let answer = answer.inspect_err(|error| {
        // Where the outcome is unknown the token may be of a session that is there: its file is kept.
        if error.kind().is_some_and(|kind| kind != Kind::StoreUnavailable) {
            Tokens::discard(&pending);
        }
    })?;
    let result: ReserveResult = answer.read()?;
    tokens.settle(&pending, result.reservation.session_id)?;
    Ok((client, Granted { answer, result, token }))
}

/// Asks, and once more where the answer was lost: the daemon answers from what it did, if it did it.
fn ask(app: &App, client: &mut Client, params: &ReserveParams) -> Result<Answer, Error> {
    match client.call("agent.reserve", params) {
        Err(CallError::Broken(_)) => {
            *client = app.connect()?;
            client.call("agent.reserve", params).map_err(Error::from)
        }
        answer => answer.map_err(Error::from),
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::local(Exit::UNEXPECTED, format!("the system gives no random bytes: {cause}")))?;
    Ok(bytes)
}

/// Draws a reservation token.
pub(crate) fn new_token() -> Result<ReservationToken, Error> {
    Ok(ReservationToken::from_bytes(random()?))
}

/// Draws the id of a request.
pub(crate) fn request_id() -> Result<RequestId, Error> {
    const SYMBOLS: Encoding = data_encoding::BASE32_NOPAD;
    let text = SYMBOLS.encode(&random::<16>()?).to_ascii_lowercase();
    format!("r-{text}").parse().map_err(|error| Error::local(Exit::UNEXPECTED, format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_valid_and_differ() {
        let ids = [request_id().expect("an id"), request_id().expect("an id")];
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0].as_str().len(), 28);
    }
}
