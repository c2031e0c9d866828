//! A service's neighbour that opens, seals and refreshes its tokens over a Unix socket.

fn main() {}
