// slow.js: bench/slow.tcl's job with Node's cluster module, which gives connections to
// the workers in turn. The handler occupies its worker, as one that computes does.
//
//   node slow.js WORKERS
//
// Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
// file on standard input.
const {lineServer, run} = require('./workers');

const never = new Int32Array(new SharedArrayBuffer(4));

run(() => lineServer((connection, line) => {
    const milliseconds = Number(line.split('/')[1]);
    if (milliseconds > 0) {
        Atomics.wait(never, 0, 0, milliseconds);
    }
    connection.end(line);
}));
