# Checks of the sources that do not run them.

# Each check returns what it found, nothing when all is well.

set checks {}
proc check {name body} {
    lappend ::checks $name
    proc Check-$name {} $body
}

proc Lint {} {
    set counts [Counts 0 0 0]
    foreach name $::checks {
        set began [clock milliseconds]
        puts -nonewline [format "%-28s " $name]
        flush stdout
        try {
            set findings [string trim [Check-$name]]
            set result [expr {$findings eq {} ? "passed" : "failed"}]
        } trap {BUILD SKIPPED} findings {
            set result skipped
        }
        puts "$result  ([Seconds $began])"
        if {$findings ne {}} {
            puts $findings
        }
        dict incr counts $result
    }
    return $counts
}

proc CppFiles {pattern} {
    return [lsort [glob -directory [file join $::root cpp] $pattern]]
}

proc IncludeDirectory {} {
    return [tcl::pkgconfig get includedir,runtime]
}

# Runs a command on each of the files, on all processors: what it wrote if it failed.
# FILE in the command stands for the file.
proc ForEachFile {files command} {
    set arguments [list -P [exec nproc] -I FILE]
    if {[catch {exec xargs {*}$arguments {*}$command << [join $files \n] 2>@1} output]} {
        # Without what clang-tidy says of the system's headers.
        return [regsub -all -line {^(\d+ warnings? generated\.|child process .*)\n?} $output {}]
    }
    return {}
}

proc CompileWith {compiler args} {
    return [ForEachFile [CppFiles *.cpp] [list {*}[Tool $compiler] -std=c++17 -Wall -Wextra \
        -Wshadow -Wpedantic -Werror -fno-exceptions -fsyntax-only -I[IncludeDirectory] \
        {*}$args FILE]]
}

proc LinesMatching {files pattern} {
    set found {}
    foreach file $files {
        set number 0
        foreach line [split [fileutil::cat $file] \n] {
            incr number
            if {[regexp $pattern $line]} {
                lappend found "[fileutil::stripPath $::root $file]:$number: $line"
            }
        }
    }
    return $found
}

check format {
    set tool [Tool clang-format]
    if {![string match "*version 14.*" [exec {*}$tool --version]]} {
        Skip "other versions of clang-format than 14 lay code out differently"
    }
    set files [concat [CppFiles *.{h,cpp}] \
        [glob -directory [file join $::root bench programs] *.{h,cpp}]]
    if {[catch {exec {*}$tool --dry-run -Werror {*}$files 2>@1} output]} {
        return $output
    }
}

check g++ {
    CompileWith g++
}

check g++-portable {
    CompileWith g++ -DUDS_PORTABLE
}

check clang++ {
    CompileWith clang++
}

check clang++-portable {
    CompileWith clang++ -DUDS_PORTABLE
}

# Left out: what fights the style (Tcl's handles are pointers, small integers sit
# next to each other in system calls, and not every result of one matters).
check clang-tidy {
    set wanted {-* bugprone-* cert-* clang-analyzer-* misc-* performance-*
        readability-function-size -bugprone-easily-swappable-parameters
        -bugprone-narrowing-conversions -cert-err33-c -misc-misplaced-const -misc-no-recursion
        -misc-non-private-member-variables-in-classes -performance-no-int-to-ptr}
    set config {{CheckOptions: [{key: readability-function-size.LineThreshold, value: 60}]}}
    return [ForEachFile [CppFiles *.cpp] [list {*}[Tool clang-tidy] --quiet --warnings-as-errors=* \
        --checks=[join $wanted ,] --config=$config FILE -- \
        -std=c++17 -fno-exceptions -I[IncludeDirectory]]]
}

check layers {
    set found [LinesMatching [CppFiles posix_*] {#include\s*[<"](tcl|cmd_)}]
    lappend found {*}[LinesMatching [CppFiles tcl_*] {#include\s*"cmd_}]
    set above {unix_sockets|unix_process forkserver|socketserver forkserver socketserver}
    foreach {lower upper} $above {
        set files [glob -nocomplain -directory $::root "{[string map {| ,} $lower]}.tcl"]
        lappend found {*}[LinesMatching $files "package require ($upper)"]
    }
    return [join $found \n]
}

check manual-pages {
    set found {}
    foreach page [ManualPages] {
        foreach format {nroff html} {
            if {[catch {FormatPage $page $format warnings} message]} {
                set warnings [list $message]
            }
            lappend found {*}[lmap warning $warnings {string cat [file tail $page] ": " $warning}]
        }
    }
    return [join $found \n]
}

check drawings {
    set old {}
    foreach source [Drawings] {
        if {![IsDrawn $source]} {
            lappend old "[fileutil::stripPath $::root $source]: its picture is of another\
                text; `tclsh build.tcl doc` makes it"
        }
    }
    return [join $old \n]
}

# Words that it takes for misspelt, and that are not, are in tools/words.txt.
check spelling {
    set tool [Tool codespell]
    if {[catch {
        exec env --chdir=$::root {*}$tool --ignore-words=tools/words.txt \
            --skip=./.git,./build,./lib,./tests/fuzz/corpus,*.svg . 2>@1
    } output]} {
        return $output
    }
}

check test-ids {
    set found {}
    foreach file [glob -directory [file join $::root tests] *.test] {
        set seen {}
        foreach line [LinesMatching [list $file] {^\s*test [\w:-]+\.\d+ }] {
            regexp {test ([\w:-]+)\.(\d+) } $line -> group number
            if {[dict exists $seen $group] && [dict get $seen $group] >= $number} {
                lappend found $line
            }
            dict set seen $group $number
        }
    }
    return [join $found \n]
}

check tcl-layout {
    set sources [glob -directory $::root *.tcl tools/*.tcl forkserver/*.tcl socketserver/*.tcl \
        socketserver/*/*.tcl examples/*.tcl bench/*.tcl bench/servers/* bench/programs/* \
        bin/* packaging/*]
    set tests [glob -directory $::root tests/*.{tcl,test}]
    set found [LinesMatching $sources {\t|\s$|^.{101}}]
    lappend found {*}[LinesMatching $tests {\t|\s$}]
    return [join $found \n]
}

verb lint {} "" "checks the sources without running them" {
    Conclude lint [Lint]
}
