//! Pseudo-terminals (pty(7)): a pair whose peer comes by TIOCGPTPEER, sizes.
