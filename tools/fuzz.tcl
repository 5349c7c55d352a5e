# Bytes from other processes, made up. Targets are tests/fuzz/*.cpp, and *.tcl but the
# harness; each runs for so many seconds. What has made one fail stays in build/fuzz.
# See doc/fuzzing.md.

# As the sanitizers' build; a failed check of undefined behaviour ends the target.
set fuzzFlags [list -std=c++17 -g -O1 -fno-exceptions -fno-sanitize-recover=undefined \
    {*}$sanitizers]

proc Fuzz {seconds} {
    set counts [Counts 0 0 0]
    foreach name [FuzzNames cpp] {
        set counts [AddCounts $counts [Step "fuzz $name" {FuzzTarget $name $seconds}]]
    }
    WithVariant sanitize copy {
        set shell [SanitizedShell $copy]
        foreach name [FuzzNames tcl] {
            set counts [AddCounts $counts [Step "fuzz $name" {
                FuzzProgram $copy $shell $name $seconds
            }]]
        }
    }
    return $counts
}

proc FuzzNames {type} {
    set files [glob -tails -directory [file join $::root tests fuzz] *.$type]
    return [lsearch -all -inline -not [lsort [lmap file $files {file rootname $file}]] harness]
}

proc FuzzPath {args} {
    set path [file join $::root build fuzz {*}$args]
    file mkdir [file dirname $path]
    return $path
}

# clang++, where it has its run-time, too.
proc FuzzCompiler {} {
    set compiler [Tool clang++]
    set directory [exec {*}$compiler -print-runtime-dir]
    if {[glob -nocomplain -directory $directory libclang_rt.fuzzer*] eq {}} {
        Skip "clang has no libFuzzer here: libclang-rt-dev is missing"
    }
    return $compiler
}

# The object of a source, in the directory of all.
proc FuzzObject {source} {
    return [FuzzPath objects [file rootname [file tail $source]].o]
}

# All that are out of date, those of the targets too, at once: on all processors.
proc FuzzCompile {} {
    set home [file join $::root tests fuzz]
    set headers [list {*}[CppFiles posix_*.h] {*}[glob -directory $home *.h]]
    set old [lmap source [list {*}[CppFiles posix_*.cpp] {*}[glob -directory $home *.cpp]] {
        if {[UpToDate [FuzzObject $source] [list $source {*}$headers]]} continue
        set source
    }]
    set command [list {*}[FuzzCompiler] {*}$::fuzzFlags -fsanitize=fuzzer-no-link -Wall -Wextra \
        -I[file join $::root cpp] -c FILE]
    set before [pwd]
    set began [clock seconds]
    cd [file dirname [FuzzObject x]]
    set output [ForEachFile $old $command]
    cd $before
    if {$output ne {}} {
        Fail $output
    }
    foreach source $old {
        file mtime [FuzzObject $source] $began ;# it may have changed meanwhile
    }
}

# No name is looked up: see fuzz.h.
proc FuzzBinary {name} {
    FuzzCompile
    set objects [lmap source [list $name {*}[CppFiles posix_*.cpp]] {FuzzObject $source}]
    set binary [FuzzPath $name]
    if {![UpToDate $binary $objects]} {
        exec {*}[FuzzCompiler] {*}$::fuzzFlags -fsanitize=fuzzer -Wl,--wrap=getaddrinfo \
            {*}$objects -o $binary
    }
    return $binary
}

# The kept inputs, and what was found since: a directory for libFuzzer.
proc FuzzCorpus {name} {
    set directory [FuzzPath corpus $name]
    file mkdir $directory
    set number 0
    foreach line [split [fileutil::cat [file join $::root tests fuzz corpus $name.txt]] \n] {
        fileutil::writeFile -translation binary [file join $directory kept[incr number]] \
            [binary decode base64 $line]
    }
    return $directory
}

# An input takes milliseconds: what takes minutes hangs, on a busy machine too.
proc FuzzTarget {name seconds} {
    set command [list {*}[FuzzBinary $name] [FuzzCorpus $name] -max_total_time=$seconds \
        -timeout=300 -print_final_stats=1 -artifact_prefix=[FuzzPath $name-]]
    set log [FuzzPath $name.log]
    set channel [open |[list {*}$command < /dev/null 2>@1]]
    set file [open $log w]
    set told [clock seconds]
    set inputs 0
    while {[gets $channel line] >= 0} {
        puts $file $line
        if {[regexp {^#(\d+)|number_of_executed_units: (\d+)} $line -> seen all]} {
            set inputs $seen$all
        }
        if {[clock seconds] - $told >= 10} {
            set told [clock seconds]
            puts "$name: $inputs inputs"
            flush stdout
        }
    }
    close $file
    if {[catch {close $channel}]} {
        regexp {(ERROR: |[^\n]*runtime error: ).*} [fileutil::cat $log] report
        Fail "[string range $report 0 4999]\n$name: the log is $log; again: [FuzzPath $name] INPUT"
    }
    puts "$name: done, $inputs inputs"
    return [Counts 1 0 0]
}

# One in Tcl, on the library with sanitizers; it prints what it does. The time beyond
# the given one is for its start and its last checks, on a busy machine.
proc FuzzProgram {copy shell name seconds} {
    set reports [file join $copy reports-$name]
    file mkdir $reports
    set last [Stream [list env {*}[SanitizerOptions $reports] timeout --signal=KILL \
        [expr {$seconds + 600}] {*}$shell [file join $copy tests fuzz $name.tcl] \
        -seconds $seconds -save [FuzzPath]]]
    if {![string match "$name: done, *" $last]} {
        set inputs [glob -nocomplain -directory [FuzzPath] $name-*.input]
        Fail "$name failed, or hung, with: [join $inputs { }]"
    }
    return [Findings $reports]
}

verb fuzz {{seconds 60}} "?SECONDS?" "runs each fuzz target for so long, see doc/fuzzing.md" {
    Conclude fuzz [Fuzz $seconds]
}
