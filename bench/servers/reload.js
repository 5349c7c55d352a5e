// reload.js: bench/reload.tcl's job with Node's cluster module: as many new workers,
// and the old ones end when these listen.
//
//   node reload.js WORKERS
//
// Sends back one line for each connection. Prints "ready PORT PID ..." with the pids, the
// parent's first. Each line on standard input makes it reload; it prints "reloaded" when
// all new workers serve, and ends at end of file.
const cluster = require('cluster');
const readline = require('readline');
const {announce, endAll, forkAll, lineServer, onceAll, serve} = require('./workers');

const wanted = Number(process.argv[2]);
let serving = [];

function replace(fresh, port) {
    const old = serving;
    serving = fresh;
    for (const worker of old) {
        worker.disconnect();
    }
    if (old.length > 0) {
        console.log('reloaded');
    } else {
        announce(fresh, port);
    }
}

if (cluster.isPrimary) {
    onceAll(wanted, replace);
    forkAll(wanted);
    const commands = readline.createInterface({input: process.stdin});
    commands.on('line', () => forkAll(wanted));
    commands.on('close', endAll);
} else {
    serve(lineServer((connection, line) => connection.end(line)));
}
