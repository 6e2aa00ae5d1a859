#include "lowbit/base/error.h"
int main() { return 0; }
