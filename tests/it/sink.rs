//! The sink over real sockets.
