// http.js: bench/http.tcl's job with Node's http in a cluster.
//
//   node http.js WORKERS
//
// Prints "ready PORT PID ..." with the pids, the parent's first, and ends at end of
// file on standard input.
const cluster = require('cluster');
const http = require('http');

if (cluster.isPrimary) {
    const wanted = Number(process.argv[2]);
    const pids = [];
    cluster.on('listening', (worker, address) => {
        pids.push(worker.process.pid);
        if (pids.length === wanted) {
            console.log('ready', address.port, process.pid, ...pids);
        }
    });
    for (let i = 0; i < wanted; i++) {
        cluster.fork();
    }
    process.stdin.resume();
    process.stdin.on('end', () => {
        for (const worker of Object.values(cluster.workers)) {
            worker.process.kill('SIGKILL');
        }
        process.exit(0);
    });
} else {
    http.createServer((request, response) => {
        const body = 'hello, world\n';
        response.writeHead(200, {
            'Content-Type': 'text/plain; charset=utf-8',
            'Content-Length': body.length,
        });
        response.end(body);
    }).listen(0, '127.0.0.1', 1024);
}
