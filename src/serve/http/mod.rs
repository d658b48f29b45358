//! HTTP without any route: connections, bodies, JSON, access control, and the parts of every
//! request.

pub(super) mod access;
pub(super) mod body;
pub(super) mod connection;
pub(super) mod document;
pub(super) mod json;
pub(super) mod request;
