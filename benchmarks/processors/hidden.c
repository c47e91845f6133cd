/* hidden.py replaces CPUID instructions by UD2 and preloads this library, which answers them without
   the instruction sets newer than AVX2. The bits: Intel's manual, volume 2A, CPUID, leaf 7. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#define BIT(n) (1u << (n))

/* Leaf 7, subleaf 0: AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL. */
static const uint32_t EBX_0 = BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31);
/* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ. */
static const uint32_t ECX_0 = BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14);
/* 4VNNIW, 4FMAPS, VP2INTERSECT, AMX-BF16, AVX512-FP16, AMX-TILE, AMX-INT8. */
static const uint32_t EDX_0 = BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25);
/* Subleaf 1: AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA; AVX-VNNI-INT8, -NE-CONVERT, -INT16, AVX10. */
static const uint32_t EAX_1 = BIT(4) | BIT(5) | BIT(21) | BIT(23);
static const uint32_t EDX_1 = BIT(4) | BIT(5) | BIT(10) | BIT(19);

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    uint32_t leaf = registers[REG_RAX], subleaf = registers[REG_RCX];
    uint32_t eax, ebx, ecx, edx;
    if (info->si_code <= 0 || code[0] != 0x0f || code[1] != 0x0b) {
        /* A signal of kill or raise, or another illegal instruction: let it end the process. */
        signal(SIGILL, SIG_DFL);
        if (info->si_code <= 0) {
            raise(SIGILL);
        }
        return;
    }
    __asm__ volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(leaf), "c"(subleaf));
    if (leaf == 7 && subleaf == 0) {
        ebx &= ~EBX_0;
        ecx &= ~ECX_0;
        edx &= ~EDX_0;
    } else if (leaf == 7 && subleaf == 1) {
        eax &= ~EAX_1;
        edx &= ~EDX_1;
    }
    registers[REG_RAX] = eax;
    registers[REG_RBX] = ebx;
    registers[REG_RCX] = ecx;
    registers[REG_RDX] = edx;
    registers[REG_RIP] += 2;
    (void)number;
}

__attribute__((constructor(101))) static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, 0);
}
