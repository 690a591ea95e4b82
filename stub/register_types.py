# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of registers in target.xml: fields of bits by name, and vectors (GDB manual, "Target Description Format").

The fields are those of the Arm ARM, C5.2 and D19.2, in the AArch64 view; a register is shown as the names of the bits
that are set, and wider fields as name=value.
"""

from typing import Final

Field = tuple[str, int, int]
"""A name, the lowest bit and the highest."""


def _table(text: str) -> dict[str, tuple[Field, ...]]:
    """A register a line: its name, and fields as NAME:BIT or NAME:LOWEST-HIGHEST."""
    found: dict[str, tuple[Field, ...]] = {}
    for line in text.split(";"):
        register, *fields = line.split()
        parsed = []
        for field in fields:
            name, _, bits = field.partition(":")
            low, _, high = bits.partition("-")
            parsed.append((name, int(low), int(high or low)))
        found[register] = tuple(parsed)
    return found


FIELDS: Final = _table("""
cpsr            SP:0 EL:2-3 nRW:4 F:6 I:7 A:8 D:9 BTYPE:10-11 SSBS:12 IL:20 SS:21 PAN:22 UAO:23 DIT:24 TCO:25
                V:28 C:29 Z:30 N:31;
spsr_el1        SP:0 EL:2-3 nRW:4 F:6 I:7 A:8 D:9 BTYPE:10-11 SSBS:12 IL:20 SS:21 PAN:22 UAO:23 DIT:24 TCO:25
                V:28 C:29 Z:30 N:31;
fpsr            IOC:0 DZC:1 OFC:2 UFC:3 IXC:4 IDC:7 QC:27 V:28 C:29 Z:30 N:31;
fpcr            IOE:8 DZE:9 OFE:10 UFE:11 IXE:12 IDE:15 Len:16-18 FZ16:19 Stride:20-21 RMode:22-23 FZ:24 DN:25 AHP:26;
esr_el1         ISS:0-24 IL:25 EC:26-31 ISS2:32-55;
sctlr_el1       M:0 A:1 C:2 SA:3 SA0:4 CP15BEN:5 nAA:6 ITD:7 SED:8 UMA:9 EnRCTX:10 EOS:11 I:12 EnDB:13 DZE:14 UCT:15
                nTWI:16 nTWE:18 WXN:19 TSCXT:20 IESB:21 EIS:22 SPAN:23 E0E:24 EE:25 UCI:26 EnDA:27 nTLSMD:28 LSMAOE:29
                EnIB:30 EnIA:31 CMOW:32 MSCEn:33 EnFPM:34 BT0:35 BT1:36 ITFSB:37 TCF0:38-39 TCF:40-41 ATA0:42 ATA:43
                DSSBS:44 TWEDEn:45 TWEDEL:46-49 TMT0:50 TMT:51 TME0:52 TME:53 EnASR:54 EnAS0:55 EnALS:56 EPAN:57
                TCSO0:58 TCSO:59 EnTP2:60 NMI:61 SPINTMASK:62 TIDCP:63;
tcr_el1         T0SZ:0-5 EPD0:7 IRGN0:8-9 ORGN0:10-11 SH0:12-13 TG0:14-15 T1SZ:16-21 A1:22 EPD1:23 IRGN1:24-25
                ORGN1:26-27 SH1:28-29 TG1:30-31 IPS:32-34 AS:36 TBI0:37 TBI1:38 HA:39 HD:40 HPD0:41 HPD1:42
                HWU0:43-46 HWU1:47-50 TBID0:51 TBID1:52 NFD0:53 NFD1:54 E0PD0:55 E0PD1:56 TCMA0:57 TCMA1:58 DS:59;
cpacr_el1       ZEN:16-17 FPEN:20-21 SMEN:24-25 TTA:28;
mdscr_el1       SS:0 ERR:6 TDCC:12 KDE:13 HDE:14 MDE:15 SC2:19 TDA:21 INTdis:22-23 TXU:26 RXO:27 TXfull:29 RXfull:30;
cntkctl_el1     EL0PCTEN:0 EL0VCTEN:1 EVNTEN:2 EVNTDIR:3 EVNTI:4-7 EL0VTEN:8 EL0PTEN:9;
mair_el1        Attr0:0-7 Attr1:8-15 Attr2:16-23 Attr3:24-31 Attr4:32-39 Attr5:40-47 Attr6:48-55 Attr7:56-63;
midr_el1        Revision:0-3 PartNum:4-15 Architecture:16-19 Variant:20-23 Implementer:24-31;
mpidr_el1       Aff0:0-7 Aff1:8-15 Aff2:16-23 MT:24 U:30 RES1:31 Aff3:32-39;
ctr_el0         IminLine:0-3 L1Ip:14-15 DminLine:16-19 ERG:20-23 CWG:24-27 IDC:28 DIC:29 RES1:31
                TminLine:32-37;
dczid_el0       BS:0-3 DZP:4;
csselr_el1      InD:0 Level:1-3;
id_aa64pfr0_el1 EL0:0-3 EL1:4-7 EL2:8-11 EL3:12-15 FP:16-19 AdvSIMD:20-23 GIC:24-27 RAS:28-31 SVE:32-35 SEL2:36-39
                MPAM:40-43 AMU:44-47 DIT:48-51 RME:52-55 CSV2:56-59 CSV3:60-63;
id_aa64mmfr0_el1 PARange:0-3 ASIDBits:4-7 BigEnd:8-11 SNSMem:12-15 BigEndEL0:16-19 TGran16:20-23 TGran64:24-27
                TGran4:28-31 TGran16_2:32-35 TGran64_2:36-39 TGran4_2:40-43 ExS:44-47 FGT:56-59 ECV:60-63;
id_aa64mmfr1_el1 HAFDBS:0-3 VMIDBits:4-7 VH:8-11 HPDS:12-15 LO:16-19 PAN:20-23 SpecSEI:24-27 XNX:28-31 TWED:32-35
                ETS:36-39 HCX:40-43 AFP:44-47
""")
"""Which bits of a register mean something."""

_EXCEPTION_CLASSES: Final = {  # ESR_EL1.EC, by the kernel's names for them (arch/arm64/include/asm/esr.h)
    0x00: "UNKNOWN", 0x01: "WFx", 0x07: "FP_ASIMD", 0x0D: "BTI", 0x0E: "ILL", 0x15: "SVC64", 0x16: "HVC64",
    0x17: "SMC64", 0x18: "SYS64", 0x19: "SVE", 0x20: "IABT_LOW", 0x21: "IABT_CUR", 0x22: "PC_ALIGN", 0x24: "DABT_LOW",
    0x25: "DABT_CUR", 0x26: "SP_ALIGN", 0x2C: "FP_EXC64", 0x2F: "SERROR", 0x30: "BREAKPT_LOW", 0x31: "BREAKPT_CUR",
    0x32: "SOFTSTP_LOW", 0x33: "SOFTSTP_CUR", 0x34: "WATCHPT_LOW", 0x35: "WATCHPT_CUR", 0x3C: "BRK64",
}  # fmt: skip
_ENUMERATIONS: Final = {("esr_el1", "EC"): _EXCEPTION_CLASSES}

# A vector register as GDB's users know it, $v0.d.u[1]: by the name of the lane, the types of its readings.
_LANES = {
    "d": (64, {"f": "ieee_double", "u": "uint64", "s": "int64"}),
    "s": (32, {"f": "ieee_single", "u": "uint32", "s": "int32"}),
    "h": (16, {"f": "ieee_half", "u": "uint16", "s": "int16"}),
    "b": (8, {"u": "uint8", "s": "int8"}),
    "q": (128, {"u": "uint128", "s": "int128"}),
}


def flags(register: str, size: int) -> str:
    """The type of a register of `size` bytes that has fields, called as the register is, and what that needs."""
    needed, fields = "", ""
    for name, low, high in FIELDS[register]:
        kind = ""
        if (values := _ENUMERATIONS.get((register, name))) is not None:
            kind = f"{register}_{name}"
            each = "".join(f'<evalue name="{text}" value="{value}"/>\n' for value, text in values.items())
            needed += f'<enum id="{kind}" size="4">\n{each}</enum>\n'
            kind = f' type="{kind}"'
        fields += f'<field name="{name}" start="{low}" end="{high}"{kind}/>\n'
    return f'{needed}<flags id="{register}" size="{size}">\n{fields}</flags>\n'


def _vector_type() -> str:
    vectors, unions, whole = "", "", ""
    for lane, (bits, readings) in _LANES.items():
        fields = ""
        for reading, element in readings.items():
            vectors += f'<vector id="v{lane}{reading}" type="{element}" count="{128 // bits}"/>\n'
            fields += f'<field name="{reading}" type="v{lane}{reading}"/>\n'
        unions += f'<union id="v{lane}">\n{fields}</union>\n'
        whole += f'<field name="{lane}" type="v{lane}"/>\n'
    return f'{vectors}{unions}<union id="aarch64v">\n{whole}</union>\n'


VECTORS: Final = _vector_type()
"""The type aarch64v, and what it needs."""
