//! HTTP without any route: connections, bodies, JSON, who may ask, and what every request carries.

pub(super) mod access;
pub(super) mod body;
pub(super) mod connection;
pub(super) mod document;
pub(super) mod json;
pub(super) mod request;
