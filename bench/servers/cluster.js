// cluster.js: bench/connections.tcl's job with Node's cluster module.
//
//   node cluster.js WORKERS
//
// Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
// file on standard input.
const {lineServer, run} = require('./workers');

run(() => lineServer((connection, line) => connection.end(line)));
