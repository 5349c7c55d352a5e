// reload.js: bench/reload.tcl's job with Node's cluster module: as many new workers,
// and the old ones end when these listen.
//
//   node reload.js WORKERS
//
// Sends back one line for each connection. Prints "ready PORT PID ..." with the pids, the
// parent's first. Each line on standard input makes it reload; it prints "reloaded" when
// all new workers serve, and ends at end of file.
const cluster = require('cluster');
const net = require('net');
const readline = require('readline');

const wanted = Number(process.argv[2]);
let fresh = [];
let serving = [];

function forkAll() {
    for (let i = 0; i < wanted; i++) {
        cluster.fork();
    }
}

function listening(worker, address) {
    fresh.push(worker);
    if (fresh.length < wanted) {
        return;
    }
    const old = serving;
    serving = fresh;
    fresh = [];
    for (const each of old) {
        each.disconnect();
    }
    if (old.length > 0) {
        console.log('reloaded');
    } else {
        console.log('ready', address.port, process.pid, ...serving.map((w) => w.process.pid));
    }
}

function end() {
    for (const worker of Object.values(cluster.workers)) {
        worker.process.kill('SIGKILL');
    }
    process.exit(0);
}

if (cluster.isPrimary) {
    cluster.on('listening', listening);
    forkAll();
    const commands = readline.createInterface({input: process.stdin});
    commands.on('line', forkAll);
    commands.on('close', end);
} else {
    cluster.worker.on('error', () => process.exit()); // the parent has ended
    net.createServer((connection) => {
        let data = '';
        connection.on('data', (more) => {
            data += more;
            if (data.endsWith('\n')) {
                connection.end(data);
            }
        });
        connection.on('error', () => {});
    }).listen(0, '127.0.0.1', 1024);
}
