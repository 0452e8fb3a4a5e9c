//! `POST /upload/file`, which takes a picture, and `GET /upload/NAME`, which gives it back.
//!
//! A picture goes to its file as it comes. It comes back with headers that let it be nothing but a picture, whatever
//! is in it.
//!
//! Limits: `chat.upload_size` bytes of the file and [`FORM_MAX`] around it; each piece within `limits.body_timeout`, all
//! of it within [`WHOLE_MAX`].

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::CACHE_CONTROL;
use hyper::header::CONTENT_LENGTH;
use hyper::header::CONTENT_SECURITY_POLICY;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use hyper::header::X_CONTENT_TYPE_OPTIONS;
use serde_json::json;

use crate::api::call::Call;
use crate::api::chat::query::Query;
use crate::api::chat::reply;
use crate::api::chat::reply::Fault;
use crate::api::chat::who;
use crate::api::chat::who::Who;
use crate::api::reply as plain;
use crate::api::reply::Answer;
use crate::chat::Temporary;
use crate::chat::Upload;
use crate::wire::multipart::Event;
use crate::wire::multipart::Reader;

/// The most bytes of a form besides its file.
const FORM_MAX: usize = 64 * 1024;

/// The longest time that an upload takes.
const WHOLE_MAX: Duration = Duration::from_secs(600);

/// Nothing in a picture may do anything.
const POLICY: &str = "sandbox; default-src 'none'";

/// A name is given once: what is behind it never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// Takes a picture.
pub(super) async fn take(call: &Call<'_>, query: &Query, body: Incoming) -> Result<Answer, Fault> {
    let user = match who::needed(call, query).await? {
        Who::User(bearer) => bearer.user.to_string(),
        Who::Backend(name) => name,
        Who::Anyone => "anyone".to_owned(),
    };
    let content_type = call.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let reader = content_type.and_then(Reader::of);
    let reader = reader.ok_or_else(|| Fault::Request("the body should be multipart/form-data".to_owned()))?;
    let taking = tokio::time::timeout(WHOLE_MAX, receive(call, reader, body, &user));
    let late = || {
        Fault::Body(StatusCode::REQUEST_TIMEOUT, format!("the upload was not complete within {WHOLE_MAX:?}"))
    };
    let upload = taking.await.map_err(|_| late())??;
    let desc = format!("{user} uploads {} of {} bytes", upload.name, upload.bytes);
    call.managed((Some(&user), None), None, &desc);
    let reply = json!({ "success": true, "filename": format!("/upload/{}", upload.name) });
    Ok(reply::with(StatusCode::OK, &reply))
}

async fn receive(
    call: &Call<'_>,
    mut reader: Reader,
    mut body: Incoming,
    user: &str,
) -> Result<Upload, Fault> {
    let config = call.means.config.load_full();
    let patience = config.limits.body_timeout;
    let mut budget = config.chat.upload_size.saturating_add(FORM_MAX);
    let chat = call.means.gateway.chat();
    let mut file: Option<Temporary> = None;
    let mut is_whole = false;
    while !reader.is_done() && !is_whole {
        let frame = tokio::time::timeout(patience, body.frame()).await;
        let late = || format!("no more of the upload came within {patience:?} (limits.body_timeout)");
        let frame = frame.map_err(|_| Fault::Body(StatusCode::REQUEST_TIMEOUT, late()))?;
        let broken = |why: String| Fault::Body(StatusCode::BAD_REQUEST, why);
        let frame = frame.ok_or_else(|| broken("the upload broke off".to_owned()))?;
        let Ok(bytes) = frame.map_err(|error| broken(error.to_string()))?.into_data() else { continue };
        budget = budget.checked_sub(bytes.len()).ok_or_else(|| {
            let most = config.chat.upload_size;
            Fault::Body(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the upload is longer than {most} bytes (chat.upload_size)"),
            )
        })?;
        reader.feed(&bytes);
        while let Some(event) = reader.next().map_err(|fault| broken(fault.to_string()))? {
            match event {
                Event::Part { filename: Some(_), .. } if file.is_none() => {
                    file = Some(chat.begin_upload(super::unix_ms()).await?);
                }
                Event::Bytes(bytes) => {
                    if let Some(file) = &mut file {
                        file.write(&bytes).await?;
                    }
                }
                Event::End if file.is_some() => {
                    is_whole = true;
                    break;
                }
                Event::Part { .. } | Event::End => {}
            }
        }
    }
    let file = file.ok_or_else(|| Fault::Request("the form has no file".to_owned()))?;
    let upload = chat.finish_upload(file, user, super::unix_ms()).await?;
    // What comes behind the file is read, so that the client is not cut off before it has its answer.
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(patience, body.frame()).await {
        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
        let Some(left) = budget.checked_sub(length) else { break };
        budget = left;
    }
    Ok(upload)
}

/// Gives a picture back.
pub(super) async fn give(call: &Call<'_>, name: &str) -> Result<Answer, Fault> {
    let found = call.means.gateway.chat().open_upload(name).await;
    let (file, upload) = found.ok_or_else(|| Fault::Nothing(format!("there is no upload {name:?}")))?;
    let mut answer = plain::file(file, upload.bytes);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(upload.kind.media_type()));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(upload.bytes));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(FOREVER));
    Ok(answer)
}
