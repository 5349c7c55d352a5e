// http.js: bench/http.tcl's job with Node's http in a cluster.
//
//   node http.js WORKERS
//
// Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
// file on standard input.
const http = require('http');
const {run} = require('./workers');

run(() => http.createServer((request, response) => {
    const body = 'hello, world\n';
    response.writeHead(200, {
        'Content-Type': 'text/plain; charset=utf-8',
        'Content-Length': body.length,
    });
    response.end(body);
}));
